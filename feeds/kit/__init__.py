"""What every venue needs: shapes, in which a venue declares its messages, and the kernel that reads them."""
