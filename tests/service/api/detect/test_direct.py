"""The detect routes are called without the framework: nothing that it would do may be missing."""

from fastapi.routing import iter_route_contexts

from service.access.gate import takes_key
from service.api.detect.direct import DIRECT
from service.api.posting.fields import fields_in_query
from service.api.requests import check_query
from service.app import create_app
from service.settings import Settings, VersionSettings


def test_the_framework_would_call_no_other_dependency(tmp_path):
    app = create_app(Settings(versions=VersionSettings(weights_dir=tmp_path)))
    contexts = {context.endpoint: context for context in iter_route_contexts(app.routes)}
    for endpoint in DIRECT:
        dependant = contexts[endpoint].dependant
        calls = [needed.call for needed in dependant.dependencies]
        assert {takes_key, check_query, fields_in_query} <= set(calls)
        assert [call.__name__ for call in calls if call.__name__ in {"_service", "_door"}]
        assert len(calls) == 5
        assert not dependant.query_params
        assert not dependant.body_params
