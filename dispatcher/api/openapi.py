"""The description of the API at `/schema`. Each route is described where it is declared."""

from litestar import Router
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import BaseRoute
from litestar.types import ControllerRouterHandler

from dispatcher import __version__
from dispatcher.api.auth import ANY_KEY

__all__ = ["openapi_config"]


class _SchemaRouter(Router):
    """A router without Litestar's page for unknown paths, because errors are plain text."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:
        """Register every handler except that page."""
        if isinstance(value, BaseRouteHandler) and "/{path:str}" in value.paths:
            return []
        return super().register(value)


def openapi_config() -> OpenAPIConfig:
    """Serve the description at `/schema` (JSON) and `/schema/openapi.yaml`."""
    return OpenAPIConfig(
        title="Transcoding dispatcher",
        version=__version__,
        description=(
            "Distributed transcoding protocol: jobs in, engines out, every step recorded. "
            "Every answer carries X-Request-ID: the request's own, or one made for it."
        ),
        openapi_router=_SchemaRouter(
            "/schema", route_handlers=[], include_in_schema=False, opt={"needs": ANY_KEY}
        ),
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"]), YamlRenderPlugin()],
        components=Components(
            security_schemes={
                "api_key": SecurityScheme(
                    type="apiKey",
                    name="X-API-Key",
                    security_scheme_in="header",
                    description="A key has a role: client, engine, or operator, who may do all.",
                )
            }
        ),
        security=[{"api_key": []}],
    )
