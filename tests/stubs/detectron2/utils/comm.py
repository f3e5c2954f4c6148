"""One process."""


def get_rank():
    return 0


def get_world_size():
    return 1


def is_main_process():
    return True


def synchronize():
    return None


def gather(data, dst=0):
    return [data]
