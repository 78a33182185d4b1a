"""Alpha Vantage's REST API."""
