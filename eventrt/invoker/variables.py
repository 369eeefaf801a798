"""The environment variables of a handler: AWS's own, the function's, and the way back to this daemon."""

from eventrt.core.functions import FunctionVersion

_FIXED = {
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
    "_AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1",
    "_AWS_XRAY_DAEMON_PORT": "2000",
    "LAMBDA_TASK_ROOT": "/var/task",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
    "TZ": ":UTC",
    "LANG": "en_US.UTF-8",
    "LC_CTYPE": "C.UTF-8",
    "PWD": "/var/task",
    "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
    "LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
    "PYTHONPATH": "/var/runtime",
    "SHLVL": "0",
}


def of(function: FunctionVersion, *, stream: str, endpoint: str, credentials: tuple[str, str, str]) -> dict[str, str]:
    """Return all variables of a new environment; the function's own win over those AWS lets it set."""
    key, secret, token = credentials
    return {
        **_FIXED,
        "AWS_ENDPOINT_URL": endpoint,
        **(function.environment or {}),
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_SESSION_TOKEN": token,
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group_name,
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "AWS_LAMBDA_RUNTIME_API": endpoint.partition("://")[2] or endpoint,
        "_HANDLER": function.handler,
    }


async def account_credentials(function: FunctionVersion) -> tuple[str, str, str]:
    """Return keys that name the function's account, for a door that takes anybody's."""
    return function.account_id, "eventrt", "eventrt"
