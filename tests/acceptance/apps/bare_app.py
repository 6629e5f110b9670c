"""An app with flowq that knows no step at all."""

import flowq

app = flowq.celery_app()
