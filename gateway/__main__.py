"""`python -m tickplant.gateway`, its stdin being a job_specs.GatewaySpec."""

from tickplant.gateway.gateway_process import main

if __name__ == "__main__":
    main()
