"""Alpha Vantage: bars of stocks, asked for over REST."""
