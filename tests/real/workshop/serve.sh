#!/bin/busybox sh
# Serves one page about this container on port 8080 until it is told to stop.
mkdir -p /www
{
  echo "version=$VERSION"
  echo "host=$(hostname)"
  echo "greeting=$GREETING"
  echo "secret=$TOKEN"
  test -f /etc/app/motd && echo "motd=$(cat /etc/app/motd)"
  test -f /etc/secret/token && echo "file=$(cat /etc/secret/token)"
} >/www/index.html
echo "serving version $VERSION"
trap 'kill $server; exit 0' TERM
httpd -f -p 8080 -h /www &
server=$!
touch /tmp/ready 2>/dev/null || { mkdir -p /tmp; touch /tmp/ready; }
wait $server
