"""What `celery -A tests.acceptance.apps.worker_app` finds: flowq on an app of its own."""

import flowq
from tests.acceptance.apps import program_flows, worker_flows

app = flowq.celery_app()
flows, programs = worker_flows, program_flows
