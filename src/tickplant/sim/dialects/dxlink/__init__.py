"""dxLink as a simulated venue, and tastytrade's token service: synthetic market, session, REST."""
