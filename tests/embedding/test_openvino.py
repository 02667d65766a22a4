import subprocess
import sys

import pytest

from pipeline.embedding.on_openvino import converted, network_bytes
from pipeline.embedding.stored import encoder_settings

# In a process of its own, for there the core is loaded only once.
LOADS_IT = """
import faulthandler, os, signal
faulthandler.enable()  # gives the thread a signal stack, as Ray and pytest do
from pipeline.embedding.openvino import openvino_core, signal_stack
before = signal_stack()
assert before.size, "no stack to lose"
assert openvino_core() is openvino_core()
after = signal_stack()
assert (before.start, before.size) == (after.start, after.size), "another signal stack"
caught = []
signal.signal(signal.SIGCHLD, lambda *_: caught.append(1))
os.kill(os.getpid(), signal.SIGCHLD)
assert caught
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep their signal stacks")
def test_loading_openvino_leaves_the_signal_stack():
    subprocess.run([sys.executable, "-c", LOADS_IT], check=True)


def test_nothing_reports_that_openvino_is_used():
    sends = (
        "import pipeline.embedding.on_openvino, sys\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "print(telemetry_utils.tm.__name__)\n"
        "assert not [m for m in sys.modules if m.startswith('openvino_telemetry.')]"
    )
    done = subprocess.run([sys.executable, "-c", sends], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"


def test_a_network_is_the_same_bytes_whatever_was_converted_before(vit):
    settings = encoder_settings(str(vit), None, None, "openvino", "f32", None, None)
    assert network_bytes(converted(settings)) == network_bytes(converted(settings))
