"""benches: each measures one stage against naive peers in the same run and prints one JSON object last"""
