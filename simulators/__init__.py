"""devices that do not exist: simulated city, replay of recordings, ledger"""
