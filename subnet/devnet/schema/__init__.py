"""What the devnet's metadata describes: types, storage, calls, events, runtime APIs, constants."""
