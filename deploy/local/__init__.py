"""real services on this machine without Docker or root"""
