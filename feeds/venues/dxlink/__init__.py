"""dxFeed over dxLink, directly or through tastytrade."""
