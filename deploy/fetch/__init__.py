"""programs that are fetched once and unpacked under a folder of ours; standard library only"""
