"""Reading, compacting, checking and exporting stored records."""
