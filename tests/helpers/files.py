"""Files of a store: compared, and damaged."""

import hashlib


def digests(store):
    """Every file of a store but the lock and the times of its last run."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name not in ("run.json", ".lock")
    }


def flips_one_bit_of_every_byte(path):
    """Yield after each change; the file is whole again at the end."""
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        yield
    path.write_bytes(whole)
