"""naive peers: the same work as a tutorial does it"""
