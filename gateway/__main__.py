"""Runs as `python -m tickplant.gateway` with a job_specs.GatewaySpec on stdin."""

from tickplant.gateway.gateway_process import main

if __name__ == "__main__":
    main()
