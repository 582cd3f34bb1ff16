"""quality: what is noticed about readings, never a change of a value; README.md of streams lists every check"""
