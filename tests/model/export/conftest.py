import pytest

from model.export import encoder


@pytest.fixture(scope="package", autouse=True)
def traced_once():
    """torch's exporter takes seconds, and all these networks have few different encoders."""
    trace, traces = encoder.trace, {}

    def remembered(made, size):
        key = (made.name, size)
        if key not in traces:
            traces[key] = trace(made, size)
        return traces[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "trace", remembered)
        yield
