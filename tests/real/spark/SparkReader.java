import static org.apache.spark.sql.functions.col;
import static org.apache.spark.sql.functions.struct;
import static org.apache.spark.sql.functions.to_json;

import java.util.Map;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.SparkSession;

/** Reads Delta tables with delta-spark and prints each row as JSON: `java SparkReader.java FOLDER...`. */
public class SparkReader {
  public static void main(String[] folders) {
    SparkSession spark =
        SparkSession.builder()
            .master("local[1]")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.sql.shuffle.partitions", "1")
            .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
            .config(
                "spark.sql.catalog.spark_catalog",
                "org.apache.spark.sql.delta.catalog.DeltaCatalog")
            .getOrCreate();
    Map<String, String> json =
        Map.of(
            "ignoreNullFields", "false",
            "timestampFormat", "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX");
    for (String folder : folders) {
      System.out.println("TABLE " + folder);
      try {
        spark
            .read()
            .format("delta")
            .load(folder)
            .select(to_json(struct(col("*")), json))
            .as(Encoders.STRING())
            .collectAsList()
            .forEach(row -> System.out.println("ROW " + row));
      } catch (Exception error) {
        System.out.println("ERROR " + error);
      }
    }
    spark.stop();
  }
}
