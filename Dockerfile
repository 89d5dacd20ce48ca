# The container image of a function, for those who prefer one: the very artifact that
# `silt package` makes from the lock, on AWS's base image.
#
#   silt package --arch arm64 --python 3.13
#   docker build --platform linux/arm64 --build-arg FUNCTION=ingest -t silt-ingest .
#   docker build --platform linux/arm64 --build-arg FUNCTION=maintenance -t silt-maintenance .
#
# The image of maintenance needs its own command in the function's ImageConfig:
# handler.maintenance.lambda_handler.
ARG PYTHON=3.13
FROM amazon/aws-lambda-python:${PYTHON} AS unpacked
ARG PYTHON
ARG FUNCTION=ingest
# BuildKit's word for the platform that is built for; AWS calls amd64 x86_64.
ARG TARGETARCH
COPY dist/silt-${FUNCTION}-*-py${PYTHON}.zip /tmp/artifacts/
RUN case ${TARGETARCH} in amd64) arch=x86_64 ;; *) arch=${TARGETARCH} ;; esac && \
    python -m zipfile -e /tmp/artifacts/silt-${FUNCTION}-${arch}-py${PYTHON}.zip /unpacked

FROM amazon/aws-lambda-python:${PYTHON}
COPY --from=unpacked /unpacked ${LAMBDA_TASK_ROOT}
CMD ["handler.app.lambda_handler"]
