"""What ties Darkroom to Airflow. Hidden from the plugin loader by .airflowignore; DAGs import it by its name."""
