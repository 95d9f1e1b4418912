"""The names of the lab's behaviours, as `assay lab miner` and the demo's deal take them."""

from typing import Final

BEHAVIOURS: Final = {
    "honest": "the promised release, nothing else",
    "weaker": "a weaker checkpoint under the promised release's name",
    "foreign-seed": "the promised release with sampling noise of its own",
    "replay": "the promised release, but repeated prompts are answered from memory",
}
