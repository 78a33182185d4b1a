"""What every venue needs and none should write again."""
