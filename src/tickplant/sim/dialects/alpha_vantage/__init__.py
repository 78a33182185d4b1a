"""Alpha Vantage's REST."""
