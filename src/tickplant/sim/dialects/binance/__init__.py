"""Binance spot and USD-M futures as a simulated venue: synthetic market, WebSocket session, REST."""
