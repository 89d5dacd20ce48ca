# The container image of a function, for those who prefer one: the very artifact that
# `silt package` makes from the lock, on AWS's base image.
#
#   silt package --arch arm64 --python 3.13
#   docker build --platform linux/arm64 --build-arg FUNCTION=ingest --build-arg ARCH=arm64 -t silt-ingest .
#   docker build --platform linux/arm64 --build-arg FUNCTION=maintenance --build-arg ARCH=arm64 \
#       -t silt-maintenance .
#
# The image of maintenance needs its own command in the function's ImageConfig:
# handler.maintenance.lambda_handler.
ARG PYTHON=3.13
FROM amazon/aws-lambda-python:${PYTHON} AS unpacked
ARG PYTHON
ARG ARCH=arm64
ARG FUNCTION=ingest
COPY dist/silt-${FUNCTION}-${ARCH}-py${PYTHON}.zip /tmp/artifact.zip
RUN python -m zipfile -e /tmp/artifact.zip /unpacked

FROM amazon/aws-lambda-python:${PYTHON}
COPY --from=unpacked /unpacked ${LAMBDA_TASK_ROOT}
CMD ["handler.app.lambda_handler"]
