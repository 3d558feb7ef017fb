"""Files that say what addresses and shortened names are called in the source: read, kept in ClickHouse, and asked.

`library` knows the library that reads them, `reading` makes of an uploaded file what is kept of it, `mapping_index`
cuts a mapping so that a class can be had alone, and `shelf` answers for stacks (`formats/stacks/symbols.py`).
"""
