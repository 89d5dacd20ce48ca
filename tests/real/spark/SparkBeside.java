import static org.apache.spark.sql.functions.col;
import static org.apache.spark.sql.functions.struct;
import static org.apache.spark.sql.functions.to_json;

import io.delta.storage.LogStore;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Iterator;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;

/**
 * Works beside Silt, as it is told on standard input: one JVM whose knowledge of a table grows old
 * between two lines. `append FOLDER FIRST END` appends rows with these offsets, and makes the table
 * if there is none; `sql STATEMENT` runs one; `rows FOLDER` prints the rows as a JSON list, and
 * `offsets FOLDER [VERSION]` the offsets alone; `ids` those of the rows that pass a
 * filter. `race STORE FILE` puts a commit by a log store of
 * Delta's while another writer puts the same one, after the store has looked whether it is there.
 */
public class SparkBeside {
  public static void main(String[] arguments) throws Exception {
    SparkSession spark =
        SparkSession.builder()
            .master("local[1]")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.sql.shuffle.partitions", "1")
            .config("spark.databricks.delta.snapshotPartitions", "1")
            .config("spark.sql.sources.parallelPartitionDiscovery.parallelism", "1")
            .config("spark.default.parallelism", "1")
            .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
            .config(
                "spark.sql.catalog.spark_catalog",
                "org.apache.spark.sql.delta.catalog.DeltaCatalog")
            .getOrCreate();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      try {
        System.out.println("DONE " + answer(spark, line));
      } catch (Exception error) {
        System.out.println("ERROR " + error.toString().replace('\n', ' '));
      }
      System.out.flush();
    }
    spark.stop();
  }

  private static String race(String name, String file) throws Exception {
    Configuration configuration = new Configuration();
    LogStore store =
        (LogStore)
            Class.forName("io.delta.storage." + name)
                .getConstructor(Configuration.class)
                .newInstance(configuration);
    Iterator<String> actions =
        new Iterator<>() {
          private boolean asked = false;

          @Override
          public boolean hasNext() {
            return !asked;
          }

          @Override
          public String next() {
            asked = true;
            try {
              Files.writeString(Paths.get(file), "another writer's\n");
            } catch (java.io.IOException error) {
              throw new java.io.UncheckedIOException(error);
            }
            return "the store's";
          }
        };
    try {
      store.write(new Path("file:" + file), actions, false, configuration);
      return "written";
    } catch (FileAlreadyExistsException error) {
      return "refused";
    }
  }

  private static String answer(SparkSession spark, String line) throws Exception {
    String[] words = line.split(" ", 2);
    String[] rest = words[1].split(" ");
    switch (words[0]) {
      case "append":
        Dataset<Row> rows =
            spark
                .range(Long.parseLong(rest[1]), Long.parseLong(rest[2]))
                .selectExpr(
                    "cast(9 as int) as _kafka_partition",
                    "id as _kafka_offset",
                    "timestamp'2026-11-18T10:00:00Z' as _kafka_timestamp",
                    "id",
                    "'spark' as name");
        rows.coalesce(1).write().format("delta").mode("append").save(rest[0]);
        return "";
      case "rows":
        Map<String, String> json =
            Map.of(
                "ignoreNullFields", "false",
                "timestampFormat", "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX");
        return spark
            .read()
            .format("delta")
            .load(rest[0])
            .select(to_json(struct(col("*")), json))
            .as(Encoders.STRING())
            .collectAsList()
            .toString();
      case "ids":
        // FOLDER, VERSION or -, COLUMN and a condition, separated by tabs: the rows that pass.
        String[] asked = words[1].split("\t", 4);
        var table = spark.read().format("delta");
        if (!asked[1].equals("-")) {
          table = table.option("versionAsOf", asked[1]);
        }
        return table.load(asked[0]).where(asked[3]).select("`" + asked[2] + "`")
            .collectAsList().stream().map(row -> row.get(0).toString())
            .toList().toString();
      case "race":
        return race(rest[0], rest[1]);
      case "sql":
        spark.sql(words[1]).collectAsList();
        return "";
      default:
        var reader = spark.read().format("delta");
        if (rest.length > 1) {
          reader = reader.option("versionAsOf", rest[1]);
        }
        return reader.load(rest[0]).select("_kafka_offset").sort("_kafka_offset")
            .collectAsList().stream().map(row -> row.get(0).toString())
            .toList().toString();
    }
  }
}
