"""Makes a service's parts from its settings; `service.app` joins them to an application.

archive = open_archive(settings, metrics)
service = service_of(settings, registry, deployment, ...)
"""
