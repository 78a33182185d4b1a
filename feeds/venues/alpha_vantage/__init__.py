"""Alpha Vantage: bars of stocks, polled over REST."""
