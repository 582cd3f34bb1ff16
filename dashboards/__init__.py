"""what an operator sees: HTTP API and live page"""
