"""The web layer, on aiohttp: it speaks HTTP to clients and calls the manager."""
