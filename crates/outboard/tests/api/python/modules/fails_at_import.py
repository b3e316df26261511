def load():
    raise RuntimeError("no such model")


load()
