"""The chunk format: codec, columns, transforms."""
