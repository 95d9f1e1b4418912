"""The embedded chain: a Substrate node in miniature that the unmodified bittensor SDK talks to."""
