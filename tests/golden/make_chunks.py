"""Makes the golden chunk file of the current format version: `python tests/golden/make_chunks.py`.

Run it once, when the version changes, and commit what it writes beside the files of the older versions, which stay as
they are: `tests/unit/test_codec_golden.py` reads them all for ever.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from made_records import make_records

from tickplant.records.layouts import Schema
from tickplant.writer.format.chunk_layout import VERSION, producer_id
from tickplant.writer.format.codec import encode_chunk

EPOCH = 1_700_000_000_123_456_789
ROWS = 300
FIRST_SEQ = 4_000_000


def main() -> None:
    """Write one chunk of each schema, and one of a single record."""
    path = Path(__file__).parent / f"chunks-v{VERSION}.tpj"
    if path.exists():
        sys.exit(f"{path.name} exists already, and is not to be changed")
    owner = producer_id("golden")
    chunks = [
        encode_chunk(make_records(schema, ROWS, first_seq=FIRST_SEQ), schema, EPOCH, producer=owner)
        for schema in (Schema.TICK, Schema.BBO, Schema.BAR)
    ]
    chunks.append(encode_chunk(make_records(Schema.TICK, 1), Schema.TICK, EPOCH, producer=owner))
    path.write_bytes(b"".join(chunks))


if __name__ == "__main__":
    main()
