"""The grant store against a real nats-server."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import msgspec
import pytest
from conftest import Nats
