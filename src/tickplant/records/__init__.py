"""Record layouts: dtypes, channels, packing, arrays of records. Imports nothing above errors."""
