"""What `celery -A tests.acceptance.worker_app` finds: flowq on an app of its own."""

import flowq
from tests.acceptance import worker_flows

app = flowq.celery_app()
flows = worker_flows
