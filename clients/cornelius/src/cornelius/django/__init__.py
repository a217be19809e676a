"""What a Django project needs to send changes to its pages.

`"cornelius.django"` (or `"cornelius"`, as in 2009) in INSTALLED_APPS gives `dudley` the project's settings:

    CORNELIUS = {"url": "http://localhost:8004", "key": "…"}    # absent: the environment's

`publish_changes` publishes every committed change of a model, `connecting` makes the view that a page asks for paths,
and `disconnect` is the one that takes them back.
"""

from cornelius.django.changes import Changes, log_failure, publish_changes
from cornelius.django.views import NOBODY, connecting, disconnect, subject_of

__all__ = ["NOBODY", "Changes", "connecting", "disconnect", "log_failure", "publish_changes", "subject_of"]
