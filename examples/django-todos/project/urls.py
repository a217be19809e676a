"""The tutorial's URLs, and its page."""

from django.urls import path, re_path

from cornelius.django import disconnect
from todos import views

urlpatterns = [
    path("todos", views.page),
    # As in the tutorial, a slash at the end is optional.
    re_path(r"^tasks/?$", views.tasks),
    path("task/<int:task_id>", views.task),
    # See here:
    path("tasks/connect/<str:uid>", views.connect),
    path("tasks/disconnect/<str:uid>", disconnect),
]
