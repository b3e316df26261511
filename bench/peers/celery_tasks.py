"""The application that Celery's worker and its callers both load."""

import os

from celery import Celery

from . import tasks

app = Celery("peers", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
# Bytes cross as they are: the default, JSON, would encode them as base64.
app.conf.update(
    task_serializer="msgpack",
    result_serializer="msgpack",
    accept_content=["msgpack"],
    broker_connection_retry_on_startup=True,
)

FUNCTIONS = (tasks.add_one, tasks.echo, tasks.burn, tasks.sibling, tasks.crash, tasks.beat)
TASKS = {function.__name__: app.task(function, name=function.__name__) for function in FUNCTIONS}
