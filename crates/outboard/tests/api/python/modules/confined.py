"""What a worker in a sandbox tries."""

import errno
import os
import socket
import subprocess
import threading


def attempt(act):
    """`done`, or the name of the error."""
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done"


def write(path):
    with open(path, "w") as file:
        file.write("out")


def at(name):
    return os.path.join(os.environ["OUTSIDE"], name)


# A thread that starts with the module is inside as well.
AT_IMPORT = attempt(lambda: write(at("imported")))
asked, answered = threading.Event(), threading.Event()
answers = []


def early():
    asked.wait()
    answers.append(attempt(lambda: write(at("early"))))
    answered.set()


threading.Thread(target=early, daemon=True).start()


def of_early_thread():
    asked.set()
    answered.wait()
    return answers[0]


def by_a_program():
    subprocess.run(["/bin/sh", "-c", 'echo > "$OUTSIDE/sh"'], stderr=subprocess.DEVNULL)
    if not os.path.exists(at("sh")):
        raise OSError(errno.EACCES, "not written")


def tries(allowed, port):
    return {
        "import": AT_IMPORT,
        "early thread": of_early_thread(),
        "write": attempt(lambda: write(at("new"))),
        "overwrite": attempt(lambda: write(at("file"))),
        "owner": attempt(lambda: os.chown(at("file"), os.getuid(), -1)),
        "read": attempt(lambda: open(at("file")).read()),
        "remove": attempt(lambda: os.unlink(at("file"))),
        "tcp": attempt(lambda: socket.create_connection(("127.0.0.1", port), 5).close()),
        "server's environment": attempt(lambda: open(f"/proc/{os.getppid()}/environ").read()),
        "program": attempt(by_a_program),
        "allowed": attempt(lambda: write(os.path.join(allowed, "new"))),
    }
