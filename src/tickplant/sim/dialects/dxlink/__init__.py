"""dxLink as a simulated venue, and tastytrade's hand-out of tokens: synthetic market, session, REST."""
