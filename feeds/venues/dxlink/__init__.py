"""dxFeed over dxLink, and the same through tastytrade."""
