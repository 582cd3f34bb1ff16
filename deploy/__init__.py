"""running it: local services, compose, systemd, Kubernetes"""
